function inner(number) {
  throw new RangeError(`bad number ${number}`);
}

exports.main = (event) => inner(event.number);
