import assert from "node:assert/strict";
import { X509Certificate } from "node:crypto";
import { test } from "node:test";
import { dialTls, listenTls, type TlsIdentity } from "./tls.ts";
import { createAuthority, issue, renewDays, roleDays, whyRenew, type PemPair } from "./pki.ts";
import type { PeerRole } from "../format/wire.ts";

const now = Date.now();
const dayMs = 86_400_000;

async function identity(authority: PemPair, role: PeerRole, name: string): Promise<TlsIdentity> {
  const pair = await issue(authority, role, name, now);
  return {
    cert: Buffer.from(pair.cert),
    key: Buffer.from(pair.key),
    ca: Buffer.from(authority.cert),
  };
}

test("pki: an issued certificate -> names its role, holds a year, verifies under the authority", async () => {
  const authority = await createAuthority("test", now);
  const pair = await issue(authority, "gateway", "g1", now);
  const cert = new X509Certificate(pair.cert);
  const ca = new X509Certificate(authority.cert);
  assert.equal(cert.subject, "CN=gateway/g1");
  assert.equal(cert.ca, false);
  assert.equal(ca.ca, true);
  assert.ok(cert.verify(ca.publicKey));
  assert.deepEqual(cert.keyUsage, ["1.3.6.1.5.5.7.3.1", "1.3.6.1.5.5.7.3.2"]);
  const days = (cert.validToDate.getTime() - now) / dayMs;
  assert.ok(Math.abs(days - roleDays) < 0.01);
  const again = new X509Certificate((await issue(authority, "gateway", "g1", now)).cert);
  assert.notEqual(again.serialNumber, cert.serialNumber);
});

test("pki: whyRenew -> names what is wrong with a certificate", async () => {
  const authority = await createAuthority("test", now);
  const other = await createAuthority("test", now);
  const { cert } = await issue(authority, "router", "router", now);
  assert.equal(whyRenew(cert, authority.cert, "router/router", now), "");
  assert.equal(whyRenew(cert, other.cert, "router/router", now), "it is not this site's");
  assert.equal(whyRenew(cert, authority.cert, "depot/router", now), "it names another role");
  const late = now + (roleDays - renewDays + 1) * dayMs;
  assert.equal(whyRenew(cert, authority.cert, "router/router", late), "it ends soon");
  assert.equal(whyRenew("junk", authority.cert, "router/router", now), "it cannot be read");
});

test("pki: a name that could be misread in the common name -> refused", async () => {
  const authority = await createAuthority("test", now);
  for (const name of ["", "g1/x", "G1", "a b", "-a", "x".repeat(40)]) {
    await assert.rejects(issue(authority, "gateway", name, now), { code: "pki.name" });
  }
});

test("pki: two roles of one site -> speak TLS; a role of another site -> refused", async () => {
  const authority = await createAuthority("test", now);
  const stranger = await createAuthority("test", now);
  const arrived = Promise.withResolvers<string>();
  const listener = await listenTls({
    host: "127.0.0.1",
    port: 0,
    identity: await identity(authority, "gateway", "g1"),
    accept: ["operator"],
    onWire: (wire) => {
      arrived.resolve(`${wire.peer.role}/${wire.peer.name}`);
    },
  });
  try {
    const dial = async (by: PemPair): Promise<string> => {
      const wire = await dialTls({
        host: "127.0.0.1",
        port: listener.port,
        identity: await identity(by, "operator", "operator"),
        expect: "gateway",
        expectName: "g1",
      });
      await arrived.promise;
      wire.close("done");
      return wire.peer.name;
    };
    assert.equal(await dial(authority), "g1");
    await assert.rejects(dial(stranger), { code: "tls.dial" });
    assert.equal(await arrived.promise, "operator/operator");
  } finally {
    await listener.close();
  }
});
