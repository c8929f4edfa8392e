exports.mian = () => 1;
