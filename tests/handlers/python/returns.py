VALUES = {"null": None, "list": [1, [2]], "number": 1.5, "string": "text", "true": True}


def main(event):
    return VALUES[event]
