def main(event):
    return [1.0, float("nan")]
