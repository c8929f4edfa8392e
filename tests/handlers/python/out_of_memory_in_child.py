import subprocess
import sys


def main(event):
    subprocess.run([sys.executable, "-c", "e = []\nwhile True: e.append(bytearray(b'x') * 4_000_000)"])
    import threading

    threading.Event().wait()
