// SPDX-License-Identifier: Apache-2.0
// A node with a small JMAP service and a WebSocket echo: node jmapnode.js NAME CERT KEY. Prints its port; ends
// with its standard input.
"use strict";
const fs = require("fs");
const https = require("https");
const { WebSocketServer } = require("ws");

const [name, cert, key] = process.argv.slice(2);
const ACCOUNT = "a1";
const emails = [];

const methods = {
  "Mailbox/get": () => ({ accountId: ACCOUNT, state: "1", notFound: [],
    list: [{ id: "inbox", name: "Inbox of " + name, role: "inbox" }] }),
  "Email/set": (args) => {
    const created = {};
    for (const id of Object.keys(args.create || {})) {
      emails.push({ id: "e" + (emails.length + 1), ...args.create[id] });
      created[id] = { id: "e" + emails.length };
    }
    return { accountId: ACCOUNT, newState: String(emails.length), created };
  },
  "Email/get": (args) => ({ accountId: ACCOUNT, state: String(emails.length), notFound: [],
    list: emails.filter((email) => !args.ids || args.ids.includes(email.id)) }),
};

function session(request) {
  const base = "https://" + request.headers.host;
  const capabilities = { "urn:ietf:params:jmap:core": { maxSizeUpload: 1e8, maxConcurrentUpload: 4,
    maxSizeRequest: 1e7, maxConcurrentRequests: 4, maxCallsInRequest: 16, maxObjectsInGet: 500,
    maxObjectsInSet: 500, collationAlgorithms: [] }, "urn:ietf:params:jmap:mail": {} };
  return { capabilities, username: name, state: "1", apiUrl: base + "/jmap/api",
    accounts: { [ACCOUNT]: { name, isPersonal: true, isReadOnly: false,
      accountCapabilities: capabilities } },
    primaryAccounts: { "urn:ietf:params:jmap:core": ACCOUNT, "urn:ietf:params:jmap:mail": ACCOUNT },
    downloadUrl: base + "/jmap/download/{accountId}/{blobId}/{name}?type={type}",
    uploadUrl: base + "/jmap/upload/{accountId}",
    eventSourceUrl: base + "/jmap/events?types={types}&closeafter={closeafter}&ping={ping}" };
}

const server = https.createServer({ cert: fs.readFileSync(cert), key: fs.readFileSync(key) },
  async (request, response) => {
    let body = "";
    for await (const piece of request) body += piece;
    const answer = (value) => {
      response.writeHead(200, { "Content-Type": "application/json" });
      response.end(JSON.stringify(value));
    };
    if (request.url === "/.well-known/jmap") return answer(session(request));
    if (request.url === "/jmap/api") {
      const calls = JSON.parse(body).methodCalls;
      return answer({ sessionState: "1", methodResponses: calls.map(([method, args, id]) =>
        methods[method] ? [method, methods[method](args), id]
                        : ["error", { type: "unknownMethod" }, id]) });
    }
    response.writeHead(404);
    return response.end();
  });

new WebSocketServer({ server }).on("connection", (socket) => {
  socket.send(name);
  socket.on("message", (data, binary) => socket.send(data, { binary }));
});
server.listen(0, "127.0.0.1", () => console.log(server.address().port));
process.stdin.resume().on("end", () => process.exit(0));
