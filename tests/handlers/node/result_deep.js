exports.main = () => {
  let deep = [];
  for (let at = 0; at < 100_000; at++) deep = [deep];
  return deep;
};
