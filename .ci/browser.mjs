// The page and the badge in a real browser. Called by .ci/browser with the server's binary.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { chromium } from "playwright-core";

const [binary, write] = process.argv.slice(2);
const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const pause = (milliseconds) => new Promise((done) => setTimeout(done, milliseconds));

class Server {
    async start(...options) {
        this.process = spawn(binary, ["--listen", `127.0.0.1:${this.port ?? 0}`, ...options]);
        this.log = "";
        await new Promise((done, failed) => {
            this.process.stderr.on("data", (data) => {
                this.log += data;
                const found = /listening on 127.0.0.1:(\d+)/.exec(this.log);
                if (found) done((this.port = +found[1]));
            });
            this.process.on("exit", () => failed(new Error(`it does not start: ${this.log}`)));
        });
        this.url = `http://127.0.0.1:${this.port}/`;
        return this;
    }
    async post(status) {
        const answer = await fetch(`${this.url}api/status`, {
            method: "POST",
            headers: { "Content-Type": "application/json" },
            body: JSON.stringify(status),
        });
        assert.equal(answer.status, 200, await answer.text());
    }
    async stop(signal = "SIGTERM") {
        const ended = new Promise((done) => this.process.on("exit", done));
        this.process.kill(signal);
        await ended;
    }
}

const now = (minutes = 0) => new Date(Date.now() - minutes * 60e3).toISOString().replace(/\.\d+/, "");
const usual = {
    repo: "https://git.example.org/platform/production",
    server: "k8s-prod-1",
    sync_status: "SYNCED",
    drift_count: 0,
    files: [],
    last_check: now(5),
};
const script = "<script>window.hacked=1</script><img src=x onerror=\"window.hacked=1\">'\"><svg onload=window.hacked=1>";
const hostile = {
    repo: script,
    server: script,
    sync_status: script,
    last_check: script,
    drift_count: 9007199254740991,
    files: Array.from({ length: 1200 }, (_, at) => `<script>window.hacked=${at}</script>/${"x".repeat(15)}`),
};
const rightToLeft = {
    ...usual,
    repo: "مستودع‮evil/\u2066x",
    sync_status: "متزامن",
    server: "שרת",
    last_check: "אתמול",
};
const long = { ...usual, repo: "x".repeat(300), sync_status: "W".repeat(300), server: "i".repeat(300), last_check: "m".repeat(300) };

const states = {
    nothing: { posts: [], word: "UNKNOWN", title: "UNKNOWN" },
    synced: { posts: [usual], word: "SYNCED", title: `SYNCED · ${usual.repo}` },
    "out-of-sync": {
        posts: [usual, { ...usual, sync_status: "OUT_OF_SYNC", drift_count: 3, files: ["a", "b"] }],
        word: "OUT_OF_SYNC",
        title: `OUT_OF_SYNC · ${usual.repo}`,
    },
    unknown: { posts: [{ ...usual, sync_status: "UNKNOWN", drift_count: null, files: null, last_check: null }], word: "UNKNOWN" },
    other: { posts: [{ ...usual, sync_status: "Progressing" }], word: "Progressing" },
    stale: { posts: [usual], options: ["--stale-after", "1"], wait: 1100, word: "STALE", title: `STALE · ${usual.repo}` },
    hostile: { posts: [hostile], word: script.slice(0, 96) + "…" },
    "right-to-left": { posts: [rightToLeft], word: "متزامن" },
    long: { posts: [long], word: "W".repeat(96) + "…" },
};
const sizes = {
    "small-phone": { width: 320, height: 568 },
    phone: { width: 390, height: 844 },
    desktop: { width: 1280, height: 720 },
    wall: { width: 1920, height: 1080 },
};

const browser = await chromium.launch({ executablePath: "/usr/bin/chromium", args: ["--no-sandbox"] });

/** A page that fails for whatever should not happen, and says what it asked for. */
async function open(server, options = {}, path = "") {
    const context = await browser.newContext(options);
    const page = await context.newPage();
    page.troubles = [];
    page.asked = [];
    page.on("dialog", (dialog) => page.troubles.push(`dialog: ${dialog.message()}`));
    page.on("pageerror", (error) => page.troubles.push(`error: ${error}`));
    // That a request had no answer is what one of the tests is about.
    page.on("console", (message) => {
        if (message.type() === "error" && !/ERR_CONNECTION_REFUSED|ERR_CONNECTION_RESET/.test(message.text()))
            page.troubles.push(`console: ${message.text()}`);
    });
    page.on("response", (response) => page.asked.push([new URL(response.url()).pathname, response.status()]));
    page.on("request", (request) => {
        const url = request.url();
        if (!url.startsWith(server.url) && !url.startsWith("data:")) page.troubles.push(`asks ${url}`);
    });
    await page.addInitScript(() => {
        window.violations = [];
        document.addEventListener("securitypolicyviolation", (event) => window.violations.push(event.violatedDirective));
    });
    await page.goto(server.url + path);
    return page;
}

async function looksRight(page, name) {
    const seen = await page.evaluate(() => ({
        wide: document.documentElement.scrollWidth > innerWidth,
        hacked: window.hacked,
        violations: window.violations,
        scripts: document.scripts.length,
        images: document.images.length,
    }));
    assert.deepEqual(seen, { wide: false, hacked: undefined, violations: [], scripts: 1, images: 0 }, name);
    assert.deepEqual(page.troubles, [], name);
}

async function isAccessible(page, name) {
    // The policy of the page keeps scripts out that are added to it; those of the browser's own tools are let in.
    await page.evaluate(axe);
    const { violations } = await page.evaluate(() => window.axe.run(document, { resultTypes: ["violations"] }));
    const told = violations.map((it) => `${it.id}: ${it.nodes.map((node) => node.html.slice(0, 200)).join(" | ")}`);
    assert.deepEqual(told, [], `${name}: axe`);
}

const word = (page) => page.locator("h1").innerText();
const tests = {};

tests["each state, light and dark, from a small phone to a wall, is shown and can be read by everybody"] = async () => {
    for (const [state, { posts, options = [], wait = 0, word: expected, title }] of Object.entries(states)) {
        const server = await new Server().start(...options);
        for (const status of posts) await server.post(status);
        await pause(wait);
        for (const colorScheme of ["light", "dark"]) {
            for (const [size, viewport] of Object.entries(sizes)) {
                const name = `${state}-${colorScheme}-${size}`;
                const page = await open(server, { colorScheme, viewport });
                // The page has looked once more by then.
                await page.waitForResponse((response) => response.url() === server.url);
                await pause(50);
                const text = (await word(page)).trim();
                assert.equal(text.replace(/\s+/g, " "), expected.replace(/[‮\u2066]/g, "\ufffd"), name);
                if (title) assert.equal(await page.title(), title, name);
                await looksRight(page, name);
                if (size === "phone" || size === "wall") await isAccessible(page, name);
                if (size === "wall" && expected.length < 9) {
                    const height = await page.locator("h1 bdi").evaluate((it) => it.getBoundingClientRect().height);
                    assert.ok(height > 150, `${name}: the word is ${height} px high`);
                }
                await page.screenshot({ path: `target/screenshots/${name}.png` });
                await page.context().close();
            }
        }
        await server.stop();
    }
};

tests["what is known stands on the page"] = async () => {
    const server = await new Server().start();
    await server.post({ ...usual, sync_status: "OUT_OF_SYNC" });
    await server.post({ ...usual, drift_count: 17, files: ["a", "b", "c"], last_check: now(5) });
    const page = await open(server);
    const facts = await page.locator("dl > div").allInnerTexts();
    const fact = (name) => facts.find((it) => it.startsWith(name))?.slice(name.length).trim();
    assert.equal(fact("Drift"), "17");
    assert.equal(fact("Files"), "3");
    assert.match(fact("Last check"), /^5 min \d+ s ago$/);
    assert.match(fact("Last report"), /^\d s ago$/);
    assert.match(await page.locator("main").innerText(), /git\.example\.org\/platform\/production\s+k8s-prod-1/);
    const strip = page.locator("ol li");
    assert.equal(await strip.count(), 2);
    assert.deepEqual(await strip.evaluateAll((items) => items.map((it) => it.className)), ["o", ""]);
    const heights = await strip.evaluateAll((items) => items.map((it) => it.getBoundingClientRect().height));
    assert.ok(heights[0] > heights[1], "not by colour alone");
    for (const link of await page.locator("footer a").all()) {
        const answer = await fetch(new URL(await link.getAttribute("href"), server.url));
        assert.equal(answer.status, 200);
    }
    await page.context().close();
    await server.stop();
};

tests["ages count up"] = async () => {
    const server = await new Server().start();
    await server.post({ ...usual, last_check: now(5) });
    const page = await open(server);
    const age = async () => /(\d+) min (\d+) s/.exec(await page.locator("dl").innerText()).slice(1, 3).map(Number);
    const seconds = ([minutes, rest]) => minutes * 60 + rest;
    const first = seconds(await age());
    await pause(3100);
    const later = seconds(await age());
    assert.ok(later - first >= 2 && later - first <= 4, `${first}, then ${later}`);
    await page.context().close();
    await server.stop();
};

tests["a post changes the page, which is not loaded anew, and what has not changed is a 304"] = async () => {
    const server = await new Server().start();
    await server.post(usual);
    const page = await open(server);
    await page.evaluate(() => {
        window.same = true;
        window.changes = 0;
        new MutationObserver(() => window.changes++).observe(document.querySelector("h1"), { childList: true, subtree: true });
    });
    // The browser tells the page of a 200 from its cache; the server knows what it sent.
    const counted = async () => {
        const metrics = await (await fetch(`${server.url}metrics`)).text();
        return +(/route="page",method="read",code="304"\} (\d+)/.exec(metrics)?.[1] ?? 0);
    };
    await pause(11_000);
    assert.ok((await counted()) >= 2, "it has asked and was told that nothing has changed");
    assert.equal(await page.evaluate(() => window.changes), 0, "nothing flickers");
    await server.post({ ...usual, sync_status: "OUT_OF_SYNC" });
    await page.waitForFunction(() => document.querySelector("h1").innerText.includes("OUT_OF_SYNC"), null, { timeout: 7000 });
    assert.equal(await page.evaluate(() => window.same), true);
    assert.match(await page.title(), /^OUT_OF_SYNC/);
    await looksRight(page, "refreshed");
    await page.context().close();
    await server.stop();
};

tests["a page that is hidden asks for nothing, and when it is seen again it asks at once"] = async () => {
    const server = await new Server().start();
    const page = await open(server);
    await pause(300);
    // Chromium without a head shows every tab; what it would say of a hidden one is said in its place.
    const hide = (hidden) =>
        page.evaluate((hidden) => {
            Object.defineProperty(document, "hidden", { configurable: true, get: () => hidden });
            document.dispatchEvent(new Event("visibilitychange"));
        }, hidden);
    await hide(true);
    await pause(200);
    page.asked.length = 0;
    await pause(7000);
    assert.deepEqual(page.asked, []);
    await server.post(usual);
    await hide(false);
    await page.waitForFunction(() => document.querySelector("h1").innerText.includes("SYNCED"), null, { timeout: 2500 });
    await page.context().close();
    await server.stop();
};

tests["a server that is gone is told from any state, and one that is back is shown"] = async () => {
    for (const colorScheme of ["light", "dark"]) {
        const server = await new Server().start();
        await server.post(usual);
        const page = await open(server, { colorScheme, viewport: sizes.desktop });
        await pause(300);
        await server.stop("SIGKILL");
        await page.waitForFunction(() => document.querySelector("h1").innerText.includes("UNREACHABLE"), null, { timeout: 12_000 });
        assert.match(await page.locator("main").innerText(), /last answer \d+ s ago was SYNCED/);
        assert.equal(await page.title(), "UNREACHABLE");
        const struck = await page.locator("dl").evaluate((it) => getComputedStyle(it).textDecorationLine);
        assert.equal(struck, "line-through");
        await isAccessible(page, `unreachable-${colorScheme}`);
        await page.screenshot({ path: `target/screenshots/unreachable-${colorScheme}-desktop.png` });
        await server.start();
        await server.post({ ...usual, sync_status: "OUT_OF_SYNC" });
        await page.waitForFunction(() => document.querySelector("h1").innerText.trim() === "OUT_OF_SYNC", null, { timeout: 12_000 });
        assert.doesNotMatch(await page.locator("main").innerText(), /last answer/);
        await page.context().close();
        await server.stop();
    }
};

tests["without a script the state is there, and the page is loaded anew now and then"] = async () => {
    const server = await new Server().start();
    await server.post({ ...usual, last_check: "2026-04-21T10:30:00Z" });
    const page = await open(server, { javaScriptEnabled: false, viewport: sizes.phone });
    assert.equal((await word(page)).trim(), "SYNCED");
    assert.match(await page.locator("main").innerText(), /2026-04-21 10:30 UTC/);
    const text = await (await fetch(server.url)).text();
    assert.match(text, /<noscript><meta http-equiv=refresh content=30><\/noscript>/);
    await page.screenshot({ path: "target/screenshots/without-script-phone.png" });
    await page.context().close();
    await server.stop();
};

tests["behind a prefix the page asks for what is behind that"] = async () => {
    const server = await new Server().start();
    await server.post(usual);
    const context = await browser.newContext();
    const page = await context.newPage();
    const asked = [];
    await page.route("http://status.example/**", async (route) => {
        const path = new URL(route.request().url()).pathname;
        asked.push(path);
        const answer = await fetch(server.url + path.replace("/gitops/", ""));
        await route.fulfill({ status: answer.status, headers: Object.fromEntries(answer.headers), body: await answer.text() });
    });
    await page.goto("http://status.example/gitops/?tab=1");
    await pause(5500);
    assert.ok(asked.length >= 2 && asked.every((path) => path === "/gitops/"), String(asked));
    assert.equal((await word(page)).trim(), "SYNCED");
    await context.close();
    await server.stop();
};

tests["the texts of a badge fit their halves, whatever they are"] = async () => {
    for (const value of ["SYNCED", "OUT_OF_SYNC", "WWWWWWWW", "iiiiiiii", "同期済み", "متزامن", "🚀🚀", "ÀÉÎÕÜ", script]) {
        const server = await new Server().start();
        await server.post({ ...usual, sync_status: value });
        const path = `badge.svg?label=${encodeURIComponent(value)}`;
        const page = await open(server, {}, path);
        const found = await page.evaluate(() => {
            const [label, text] = [...document.querySelectorAll("text")];
            return {
                role: document.documentElement.getAttribute("role"),
                title: document.querySelector("title").textContent,
                inside: [...document.querySelectorAll("rect")].slice(1).map((rect, at) => {
                    const [outer, inner] = [rect, [label, text][at]].map((it) => it.getBoundingClientRect());
                    return inner.left >= outer.left && inner.right <= outer.right;
                }),
                // Without being told how wide to be, it would be about as wide, where the font has the characters.
                natural: [label, text].map((it) => {
                    const told = it.getComputedTextLength();
                    it.removeAttribute("textLength");
                    return it.getComputedTextLength() / told;
                }),
                hacked: window.hacked,
            };
        });
        assert.deepEqual([found.role, found.inside, found.hacked], ["img", [true, true], undefined], value);
        const shown = value.length > 96 ? value.slice(0, 96) + "…" : value;
        assert.equal(found.title, `${shown}: ${shown}`);
        if (/^[\x20-\x7e]+$/.test(value)) assert.ok(found.natural.every((it) => it > 0.93 && it < 1.07), `${value}: ${found.natural}`);
        assert.deepEqual(page.troubles, [], value);
        // As a README has it.
        await page.goto(`${server.url}health`);
        await page.setContent(`<img alt="" src="${server.url}${path}">`);
        await page.waitForFunction(() => document.images[0].complete && document.images[0].naturalHeight === 20);
        await page.context().close();
        await server.stop();
    }
};

async function writePictures() {
    const server = await new Server().start();
    const state = (at) => (at % 17 === 9 ? "OUT_OF_SYNC" : at % 29 === 21 ? "UNKNOWN" : "SYNCED");
    for (let at = 0; at < 50; at++) await server.post({ ...usual, sync_status: state(at), drift_count: at });
    const shoot = async (path, options) => {
        const page = await open(server, options);
        await pause(1200);
        await page.screenshot({ path });
        await page.context().close();
    };
    await server.post(usual);
    await shoot("assets/page-synced.png", { colorScheme: "light", viewport: { width: 800, height: 450 } });
    await server.post({ ...usual, sync_status: "OUT_OF_SYNC", drift_count: 3, files: ["a", "b", "c"], last_check: now(2) });
    await shoot("assets/page-out-of-sync.png", { colorScheme: "dark", viewport: { width: 800, height: 450 } });
    await server.stop();
}

if (write === "--write") {
    await writePictures();
} else {
    for (const [name, test] of Object.entries(tests)) {
        const begun = Date.now();
        await test();
        console.log(`${name}: ok [${((Date.now() - begun) / 1000).toFixed(1)} s]`);
    }
}
await browser.close();
