"""A client with the package miltertest of PyPI. It speaks version 6 alone.
Arguments: see ../README.md."""

import socket
import sys

from miltertest import MilterConnection, constants

import message

path, version, actions, protocol, sender, file = sys.argv[1:]
if version != "6":
    sys.exit(77)
stream = socket.socket(socket.AF_UNIX)
stream.settimeout(30)
stream.connect(path)
milter = MilterConnection(stream)
# It does not read the list of macros that an offer of SETSYMLIST is answered with.
_, agreed = milter.optneg_mta(actions=int(actions) & ~0x100, protocol=int(protocol), strict=True)


def finish(reply):
    command, arguments = reply
    if command == constants.SMFIR_REPLYCODE:
        text = " ".join(str(value) for value in arguments.values())
        print("refused", text.strip())
    elif command == constants.SMFIR_CONTINUE:
        print("continue")
    elif command == constants.SMFIR_ACCEPT:
        print("accept")
    else:
        sys.exit(f"reply {command}")
    sys.exit()


def command(letter, no_reply, **arguments):
    milter._send(letter, **arguments)
    if agreed & no_reply:
        return True
    reply = milter.recv()
    if reply[0] not in (constants.SMFIR_CONTINUE, "s"):
        finish(reply)
    return reply[0] != "s"


fields, body = message.split(file)
command(constants.SMFIC_CONNECT, 0x1000, hostname="[x]", family="6", port=25252, address="2001:db8:1::10")
command(constants.SMFIC_HELO, 0x2000, helo="mail.good.example")
command(constants.SMFIC_MAIL, 0x4000, args=[sender])
command(constants.SMFIC_RCPT, 0x8000, args=["<b@contoso.com>"])
if not agreed & 0x200:
    command(constants.SMFIC_DATA, 0x10000)
for name, value in fields:
    value = message.without_space(value, agreed & 0x100000)
    command(constants.SMFIC_HEADER, 0x80, name=name.decode(), value=value.decode())
command(constants.SMFIC_EOH, 0x40000)
command(constants.SMFIC_BODY, 0x80000, buf=body.decode())
*edits, last = milter.send_eom()
for edit, arguments in edits:
    if edit == constants.SMFIR_INSHEADER:
        print("insert", message.one_line(arguments["value"]))
    elif edit == constants.SMFIR_CHGHEADER and not arguments["value"]:
        print("remove")
    else:
        sys.exit(f"edit {edit}")
finish(last)
