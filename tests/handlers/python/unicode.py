def main(event):
    print("grüße \U0001f600")
    print("lone \ud800 surrogate")
    return {"text": event["text"] + "\U0001f600", "lone": "a\ud800b", "nul": "\0", "escaped": "\\ud800"}
