def main(event):
    return b"raw"
