#!/usr/bin/env python3
"""Serves the domains that accept mail over IPv6 from an SQLite database, to sixgate
and to other clients of Postfix's socketmap protocol.

    socketmap-sqlite.py DATABASE [PORT]

It listens on 127.0.0.1 and ignores map names. It opens the database for each request,
so that the file can be replaced at any time.
"""

import socketserver
import sqlite3
import sys

QUERY = "SELECT ipv6 FROM opt_in WHERE domain = ?"


def look_up(domain):
    """Returns the reply to a request, see socketmap_table(5)."""
    try:
        database = sqlite3.connect(f"file:{DATABASE}?mode=ro", uri=True, timeout=2)
        try:
            row = database.execute(QUERY, (domain,)).fetchone()
        finally:
            database.close()
    except sqlite3.Error as error:
        return f"TEMP {error}"
    if row is None:
        return "NOTFOUND "
    return "OK yes" if row[0] else "OK no"


class Connection(socketserver.StreamRequestHandler):
    """A connection of one client, which sends one request after the other."""

    def handle(self):
        while (request := self.read_netstring()) is not None:
            _map, _, key = request.partition(" ")
            reply = look_up(key).encode()
            self.wfile.write(b"%d:%s," % (len(reply), reply))

    def read_netstring(self):
        length = b""
        while (octet := self.rfile.read(1)).isdigit() and len(length) < 5:
            length += octet
        if octet != b":" or not length:
            return None
        text = self.rfile.read(int(length) + 1)
        return text[:-1].decode() if text.endswith(b",") else None


class Server(socketserver.ThreadingTCPServer):
    """A thread for each client."""

    allow_reuse_address = True
    daemon_threads = True


if __name__ == "__main__":
    DATABASE = sys.argv[1]
    PORT = int(sys.argv[2]) if len(sys.argv) > 2 else 10001
    with Server(("127.0.0.1", PORT), Connection) as server:
        print(f"answering on 127.0.0.1:{PORT}", file=sys.stderr, flush=True)
        server.serve_forever()
