exports.main = () => {
  throw undefined;
};
