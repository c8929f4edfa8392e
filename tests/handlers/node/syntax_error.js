exports.main = (event => {
