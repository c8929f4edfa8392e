exports.main = () => {
  try {
    null.key;
  } catch (error) {
    throw new Error('outer', { cause: error });
  }
};
