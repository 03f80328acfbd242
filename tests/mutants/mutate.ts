/**
 * Small wrong versions of a source file: each differs in one place, found in its syntax tree. A test that
 * passes on such a mutant does not look at that place.
 */
import ts from "typescript";

export interface Mutant {
  readonly line: number;
  /** What was done, in words. */
  readonly what: string;
  readonly text: string;
}

const swaps: ReadonlyMap<ts.SyntaxKind, readonly string[]> = new Map([
  [ts.SyntaxKind.LessThanToken, ["<=", ">="]],
  [ts.SyntaxKind.LessThanEqualsToken, ["<", ">"]],
  [ts.SyntaxKind.GreaterThanToken, [">=", "<="]],
  [ts.SyntaxKind.GreaterThanEqualsToken, [">", "<"]],
  [ts.SyntaxKind.EqualsEqualsEqualsToken, ["!=="]],
  [ts.SyntaxKind.ExclamationEqualsEqualsToken, ["==="]],
  [ts.SyntaxKind.AmpersandAmpersandToken, ["||"]],
  [ts.SyntaxKind.BarBarToken, ["&&"]],
  [ts.SyntaxKind.PlusToken, ["-"]],
  [ts.SyntaxKind.MinusToken, ["+"]],
  [ts.SyntaxKind.AsteriskToken, ["+"]],
  [ts.SyntaxKind.PercentToken, ["*"]],
]);

interface Edit {
  readonly node: ts.Node;
  readonly by: string;
  readonly what: string;
}

function condition(node: ts.Node): ts.Expression | null {
  if (ts.isIfStatement(node)) return node.expression;
  return ts.isConditionalExpression(node) ? node.condition : null;
}

function* ofStatement(node: ts.Node): Iterable<Edit> {
  const decides = condition(node);
  if (decides !== null) {
    yield { node: decides, by: "true", what: "condition is true" };
    yield { node: decides, by: "false", what: "condition is false" };
  }
  if (ts.isThrowStatement(node)) yield { node, by: ";", what: "nothing is thrown" };
  if (ts.isExpressionStatement(node) && ts.isCallExpression(node.expression)) {
    yield { node, by: ";", what: "call is dropped" };
  }
  if (ts.isReturnStatement(node) && node.expression === undefined) {
    yield { node, by: ";", what: "does not return" };
  }
  if (ts.isWhileStatement(node)) {
    yield { node: node.expression, by: "false", what: "loop is never entered" };
  }
}

function* ofExpression(node: ts.Node, source: ts.SourceFile): Iterable<Edit> {
  if (ts.isBinaryExpression(node)) {
    for (const by of swaps.get(node.operatorToken.kind) ?? []) {
      const what = `${node.operatorToken.getText(source)} becomes ${by}`;
      yield { node: node.operatorToken, by, what };
    }
  }
  if (ts.isPrefixUnaryExpression(node) && node.operator === ts.SyntaxKind.ExclamationToken) {
    yield { node, by: `(${node.operand.getText(source)})`, what: "not is dropped" };
  }
  if (ts.isNumericLiteral(node)) {
    yield { node, by: String(Number(node.text) + 1), what: "number is one higher" };
  }
  if (node.kind === ts.SyntaxKind.TrueKeyword) yield { node, by: "false", what: "true is false" };
  if (node.kind === ts.SyntaxKind.FalseKeyword) yield { node, by: "true", what: "false is true" };
  if (ts.isCallExpression(node) && node.arguments.length === 2) {
    const [first, second] = node.arguments.map((argument) => argument.getText(source));
    // Two operands of one kind: hashes of a node, sides of a comparison.
    if (/Hash|concat/.test(node.expression.getText(source)) && first !== second) {
      const call = `${node.expression.getText(source)}(${second}, ${first})`;
      yield { node, by: call, what: "operands are swapped" };
    }
  }
}

/** Types are no code, and what `assert` checks are bugs of ours, not of the bytes. */
function isLeftOut(node: ts.Node, source: ts.SourceFile): boolean {
  if (ts.isTypeNode(node) || ts.isInterfaceDeclaration(node) || ts.isImportDeclaration(node)) {
    return true;
  }
  const call = ts.isExpressionStatement(node) ? node.expression : node;
  return ts.isCallExpression(call) && call.expression.getText(source) === "assert";
}

/** Every mutant of a file; `only`: of these functions and classes alone. */
export function mutantsOf(text: string, only: readonly string[] = []): Mutant[] {
  const source = ts.createSourceFile("x.ts", text, ts.ScriptTarget.Latest, true);
  const found: Mutant[] = [];
  const visit = (node: ts.Node): void => {
    if (isLeftOut(node, source)) return;
    for (const edits of [ofStatement(node), ofExpression(node, source)]) {
      for (const { node: at, by, what } of edits) {
        const [start, end] = [at.getStart(source), at.getEnd()];
        const line = source.getLineAndCharacterOfPosition(start).line + 1;
        const was = text.slice(start, end).replace(/\s+/g, " ").slice(0, 60);
        const mutated = text.slice(0, start) + by + text.slice(end);
        found.push({ line, what: `${what}: ${was}`, text: mutated });
      }
    }
    ts.forEachChild(node, visit);
  };
  for (const statement of source.statements) {
    const named =
      ts.isFunctionDeclaration(statement) || ts.isClassDeclaration(statement)
        ? (statement.name?.text ?? "")
        : "";
    if (only.length === 0 || only.includes(named)) visit(statement);
  }
  return found;
}
