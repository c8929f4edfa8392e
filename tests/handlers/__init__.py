"""A zoo of user functions, well and badly behaved: `python/*.py`, `node/*.js`, and in `zoo` what each must come to."""
