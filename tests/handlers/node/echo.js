exports.main = (event) => event;
