"""Reads a message for the clients in Python."""


def split(path):
    """Returns the fields, folded by LF, and the body."""
    with open(path, "rb") as file:
        header, _, body = file.read().partition(b"\r\n\r\n")
    fields = []
    for line in header.split(b"\r\n"):
        if line[:1] in b" \t":
            fields[-1][1] += b"\n" + line
        else:
            name, _, value = line.partition(b":")
            fields.append([name, value])
    return fields, body


def without_space(value, keeps_space):
    return value if keeps_space or value[:1] != b" " else value[1:]


def one_line(value):
    return " ".join(value.split())
