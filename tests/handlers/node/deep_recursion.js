const down = (depth) => down(depth + 1) + 1;

exports.main = () => down(0);
