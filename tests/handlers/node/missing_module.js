const missing = require('no-such-package');

exports.main = () => missing;
