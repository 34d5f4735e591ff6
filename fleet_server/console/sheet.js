// Draws a tree of fleet_server/console/nodes.py, and tells the server of forms that are sent.
// Texts go through Vue as texts; a moment is said in the reader's own zone.
import { h } from "vue";

const LONG = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });
const SHORT = new Intl.DateTimeFormat(undefined, { timeStyle: "medium" });
const WITHIN_MS = 20 * 3600 * 1000;

function local(node) {
  const near = Math.abs(Date.now() - node.at) < WITHIN_MS;
  return (node.short && near ? SHORT : LONG).format(new Date(node.at));
}

function draw(node, send) {
  if (typeof node === "string") return node;
  const props = { ...node.a, class: node.c, key: node.y };
  if (node.at !== undefined) {
    return h("time", { ...props, title: new Date(node.at).toISOString() }, local(node));
  }
  if (node.t === "form" && node.a?.["data-act"]) {
    props.onSubmit = (event) => {
      event.preventDefault();
      const values = Object.fromEntries(new FormData(event.target));
      send({ act: node.a["data-act"], key: node.a["data-key"] ?? "", values });
    };
  }
  return h(node.t, props, (node.k ?? []).map((child) => draw(child, send)));
}

export default {
  props: { tree: Object },
  render() {
    return draw(this.tree, (sent) => this.$emit("act", sent));
  },
};
