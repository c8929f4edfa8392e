import os

AT_IMPORT = os.environ.get("COLOUR")


def main(event):
    return {"at_import": AT_IMPORT, "now": os.environ["COLOUR"], "names": sorted(os.environ)}
