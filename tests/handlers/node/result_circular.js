exports.main = () => {
  const loop = {};
  loop.self = loop;
  return loop;
};
