import os


def main(event):
    child = os.fork()
    if child:
        os.waitpid(child, 0)
    else:
        print("child", flush=True)
    return "parent" if child else "child"
