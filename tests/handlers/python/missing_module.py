import no_such_package


def main(event):
    return no_such_package
