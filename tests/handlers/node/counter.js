let count = 0;
console.log('loaded');

exports.main = () => ++count;
