class OutOfStock extends Error {}

exports.main = async () => {
  throw new OutOfStock('none left');
};
