exports.main = () => {
  Promise.reject(new RangeError('nobody listens'));
  return 'fine';
};
