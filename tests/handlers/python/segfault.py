import ctypes


def main(event):
    ctypes.string_at(0)
