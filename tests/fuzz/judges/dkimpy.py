"""Verifies samples with python3-dkim. Prints a JSON object: for each sample "pass" or the reason."""

import glob
import json
import sys

import dkim

verdicts = {}
for path in sorted(glob.glob(sys.argv[1] + "/*.json")):
    facts = json.load(open(path))
    records = [record.encode("latin-1") for record in facts["records"]]

    def txt(name, timeout=5):
        bare = name.decode().rstrip(".").lower() if isinstance(name, bytes) else name.rstrip(".").lower()
        return records[0] if records and bare == facts["name"].lower() else None

    message = open(path[:-5] + ".eml", "rb").read()
    try:
        verdict = "pass" if dkim.DKIM(message).verify(dnsfunc=txt) else "fail"
    except Exception as error:
        verdict = f"{type(error).__name__}: {error}"
    verdicts[path.rsplit("/", 1)[1][:-5]] = verdict
print(json.dumps(verdicts))
