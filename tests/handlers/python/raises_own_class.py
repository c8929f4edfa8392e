class OutOfStock(Exception):
    pass


def main(event):
    raise OutOfStock("none left")
