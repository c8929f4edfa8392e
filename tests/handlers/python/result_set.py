def main(event):
    return {"tags": {1, 2}}
