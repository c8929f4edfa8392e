const NAMES = ['requestId', 'functionName', 'functionVersion', 'memoryLimitMb', 'timeoutSec'];
NAMES.push('alias', 'attempt', 'triggerType', 'invocationId');

exports.main = (event, context) => {
  const left = context.remainingTimeMs();
  const answer = { left: left > 0 && left <= context.timeoutSec * 1000 };
  for (const name of NAMES) {
    const snake = name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
    if (context[name] !== context.get(name) || context[name] !== context.get(snake)) throw new Error(name);
    answer[snake] = context[name];
  }
  if (context.get('noSuchThing', 7) !== 7) throw new Error('default');
  return answer;
};
