// Turns Markdown into HTML: an ES module with a package from npm.
import { marked } from 'marked';

export const main = ({ markdown = '' }) => ({
  statusCode: 200,
  headers: { 'Content-Type': 'text/html; charset=utf-8' },
  body: marked.parse(markdown),
});
