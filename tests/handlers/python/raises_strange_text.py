def main(event):
    raise ValueError("nul \0 lone \ud800 end")
