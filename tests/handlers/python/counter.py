COUNT = 0
print("loaded")


def main(event):
    global COUNT
    COUNT += 1
    return COUNT
