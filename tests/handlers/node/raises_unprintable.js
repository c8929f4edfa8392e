class Shy extends Error {
  get message() {
    throw new Error('no');
  }
}

exports.main = () => {
  throw new Shy();
};
