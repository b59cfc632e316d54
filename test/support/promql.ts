// What a PromQL expression names: read with the grammar that Prometheus itself publishes.
import { parser } from '@prometheus-io/lezer-promql';

export interface Selector {
  readonly metric: string;
  readonly labels: readonly string[];
}

/** Labels that a part of an expression groups or joins by, with the metrics below it. */
export interface Grouping {
  readonly labels: readonly string[];
  readonly metrics: readonly string[];
}

export interface Named {
  readonly selectors: readonly Selector[];
  readonly groupings: readonly Grouping[];
}

type Node = ReturnType<typeof parser.parse>['topNode'];

/** @throws Error where the expression cannot be parsed */
export function readPromql(expr: string): Named {
  const tree = parser.parse(expr);
  const text = ({ from, to }: Node) => expr.slice(from, to);
  const below = (node: Node, name: string): Node[] => {
    const found: Node[] = [];
    node.cursor().iterate((each) => {
      if (each.type.isError) throw new Error(`not PromQL at ${each.from}: ${expr}`);
      if (each.name === name) found.push(each.node);
    });
    return found;
  };
  const selector = (node: Node): Selector => ({
    metric: text(below(node, 'Identifier')[0]!),
    labels: below(node, 'LabelMatchers').flatMap((matchers) => below(matchers, 'LabelName').map(text)),
  });
  const grouping = (labels: Node): Grouping => {
    let whole = labels.parent!;
    while (whole.name !== 'AggregateExpr' && whole.name !== 'BinaryExpr') whole = whole.parent!;
    return { labels: below(labels, 'LabelName').map(text), metrics: below(whole, 'VectorSelector').map((each) => selector(each).metric) };
  };
  return { selectors: below(tree.topNode, 'VectorSelector').map(selector), groupings: below(tree.topNode, 'GroupingLabels').map(grouping) };
}
