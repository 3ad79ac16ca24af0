"""A client with the codec of kilter.protocol of PyPI. Arguments: see ../README.md."""

import ipaddress
import os
import socket
import sys

# The package is found before this folder.
sys.path = [p for p in sys.path if os.path.realpath(p or ".") != os.path.dirname(os.path.realpath(__file__))]
from kilter.protocol import messages  # noqa: E402
from kilter.protocol.buffer import SimpleBuffer  # noqa: E402
from kilter.protocol.core import NR_FLAG_MAP  # noqa: E402
from kilter.protocol.exceptions import NeedsMore  # noqa: E402

sys.path.append(os.path.dirname(os.path.realpath(__file__)))
import message as text  # noqa: E402

path, version, actions, protocol, sender, file = sys.argv[1:]
stream = socket.socket(socket.AF_UNIX)
stream.settimeout(30)
stream.connect(path)
received = SimpleBuffer(1 << 20)


def send(message):
    packed = SimpleBuffer(1 << 20)
    message.pack(packed)
    stream.sendall(bytes(packed[:]))


def receive():
    while True:
        try:
            message, size = messages.Message.unpack(received)
        except NeedsMore:
            data = stream.recv(65536)
            if not data:
                sys.exit("the connection is closed")
            received[received.filled :] = data
            continue
        message.freeze()
        del received[:size]
        if not isinstance(message, messages.Progress):
            return message


def finish(message):
    match message:
        case messages.ReplyCode():
            print("refused", bytes(message.content).rstrip(b"\0").decode())
        case messages.Continue():
            print("continue")
        case messages.Accept():
            print("accept")
        case _:
            sys.exit(f"reply {message}")
    sys.exit()


def command(message):
    send(message)
    if agreed & NR_FLAG_MAP[message.ident]:
        return
    reply = receive()
    if not isinstance(reply, (messages.Continue, messages.Skip)):
        finish(reply)


offered = messages.ProtocolFlags(int(protocol))
send(messages.Negotiate(int(version), messages.ActionFlags(int(actions)), offered))
answer = receive()
assert isinstance(answer, messages.Negotiate), answer
assert answer.version <= int(version), answer
assert not answer.action_flags & ~int(actions), answer
agreed = answer.protocol_flags
assert not agreed & ~offered, answer

fields, body = text.split(file)
command(messages.Connect("[x]", ipaddress.ip_address("2001:db8:1::10"), 25252))
command(messages.Helo("mail.good.example"))
command(messages.EnvelopeFrom(sender.encode()))
command(messages.EnvelopeRecipient(b"<b@contoso.com>"))
if int(version) >= 4 and not agreed & messages.ProtocolFlags.NO_DATA:
    command(messages.Data())
for name, value in fields:
    keeps_space = agreed & 0x100000
    command(messages.Header(name.decode(), text.without_space(value, keeps_space)))
command(messages.EndOfHeaders())
command(messages.Body(body))
send(messages.EndOfMessage(b""))
while True:
    match receive():
        case messages.InsertHeader() as edit:
            print("insert", text.one_line(bytes(edit.value).rstrip(b"\0").decode()))
        case messages.ChangeHeader() as edit if not bytes(edit.value).rstrip(b"\0"):
            print("remove")
        case other:
            finish(other)
