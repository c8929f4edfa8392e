def inner(number):
    raise ValueError(f"bad number {number}")


def main(event):
    return inner(event["number"])
