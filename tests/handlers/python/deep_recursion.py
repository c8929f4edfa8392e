def down(depth):
    return down(depth + 1)


def main(event):
    return down(0)
