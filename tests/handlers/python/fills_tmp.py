import errno
import os
import tempfile


def main(event):
    path = os.path.join(tempfile.gettempdir(), "big")
    try:
        with open(path, "wb", buffering=0) as file:
            for _ in range(1000):
                if file.write(b"x" * 1_000_000) < 1_000_000:
                    file.write(b"x" * 1_000_000)
    except OSError as error:
        return errno.errorcode[error.errno]
    finally:
        os.unlink(path)
