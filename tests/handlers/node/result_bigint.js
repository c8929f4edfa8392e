exports.main = () => ({ big: 12345678901234567890n });
