export default { main: (event) => event };
