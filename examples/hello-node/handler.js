// Greets whoever the event names.
exports.main = async (event, context) => {
  const name = event.name ?? 'World';
  console.log(`greeting ${name}`);
  return { message: `Hello, ${name}!`, function: context.functionName };
};
