// Talks to the MCP server at argv[2] with a published client SDK, argv[3], which
// argv[4] tells how to agree on a version, and prints what it learned as one
// line of JSON.
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const require = createRequire(process.cwd() + "/");
const load = (name) => import(pathToFileURL(require.resolve(name)));
const old = process.argv[3] === "@modelcontextprotocol/sdk";
const { Client } = await load(old ? "@modelcontextprotocol/sdk/client/index.js" : process.argv[3]);
const { StreamableHTTPClientTransport } = await load(
  old ? "@modelcontextprotocol/sdk/client/streamableHttp.js" : process.argv[3],
);

const client = new Client(
  { name: "test", version: "1" },
  process.argv[4] ? { versionNegotiation: { mode: JSON.parse(process.argv[4]) } } : {},
);
const errors = [];
client.onerror = (e) => errors.push(String(e));
const transport = new StreamableHTTPClientTransport(new URL(process.argv[2]));
await client.connect(transport);
const { tools } = await client.listTools();
const result = await client.callTool({ name: "get_report", arguments: {} });
let refusal = "";
try {
  await client.callTool({ name: "nope" });
} catch (e) {
  refusal = String(e.code);
}
console.log(JSON.stringify({
  server: client.getServerVersion(),
  version: client.getNegotiatedProtocolVersion?.() ?? transport.protocolVersion,
  tools: tools.map((t) => t.name),
  text: result.content[0].text,
  structured: result.structuredContent,
  refusal,
  errors,
}));
await client.close();
