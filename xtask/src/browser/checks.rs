//! What a page must do.

use super::{
    devtools::{Browser, quoted},
    machines::Page,
};
use crate::tally::Tally;

/// The text of the panel; empty while it is hidden.
const PANEL: &str = "(p => p.hidden ? '' : p.innerText)(document.getElementById('panel'))";
/// The function whose node has the keyboard.
const FOCUSED: &str = "document.activeElement?.getAttribute('href') ?? ''";

type Check = (&'static str, fn(&mut Browser, &Page) -> Result<(), String>);

/// In this order, over the small machine; each opens the page anew.
const CHECKS: [Check; 10] = [
    ("a function in the address is chosen, and its reasons are told", by_address),
    ("keys go through the drawing and change the panel", by_keyboard),
    ("the pointer shows a function for as long as it is over it, a click keeps it", by_pointer),
    ("search finds by name, Enter chooses, Escape clears", by_search),
    ("a name from outside stays a name", hostile_name),
    ("a finding tells where the policies differ", finding),
    ("on a narrow screen nothing sticks out, and one policy shows at a time", narrow),
    ("on paper both policies show, and no panel", paper),
    ("without its script the page has drawing, links and reasons", without_script),
    ("no script but its own runs, and nothing can be fetched", closed),
];

/// All checks, and for every page that it opens without a complaint and asks for nothing.
pub fn all(browser: &mut Browser, pages: &[Page], tally: &mut Tally) {
    let Some(small) = pages.first() else { return };
    for (what, check) in CHECKS {
        tally.check(&format!("browser: {what}"), check(browser, small));
    }
    for page in pages {
        tally.check(&format!("browser: {}", page.name), real(browser, page));
    }
}

/// The page was quiet: no error, no message, no request but for itself.
fn quiet(browser: &mut Browser, page: &Page) -> Result<(), String> {
    // A round trip, so that what was on its way has arrived.
    browser.ask("''")?;
    let complaints = browser.complaints();
    let other = |url: &String| url.split('#').next() != Some(&page.url("")) && url != "data:,";
    let requests: Vec<String> = browser.requests().into_iter().filter(other).collect();
    match (&complaints[..], &requests[..]) {
        ([], []) => Ok(()),
        ([], requests) => Err(format!("it asked for {requests:?}")),
        (complaints, _) => Err(format!("it complained: {complaints:?}")),
    }
}

fn holds(browser: &mut Browser, expression: &str) -> Result<(), String> {
    match browser.ask(expression)?.as_str() {
        "true" => Ok(()),
        other => Err(format!("`{expression}` is {other}")),
    }
}

fn panel_tells(browser: &mut Browser, words: &[&str]) -> Result<(), String> {
    let text = browser.ask(PANEL)?;
    let missing: Vec<&&str> = words.iter().filter(|words| !text.contains(**words)).collect();
    if missing.is_empty() { Ok(()) } else { Err(format!("no {missing:?} in the panel: {text:?}")) }
}

fn by_address(browser: &mut Browser, page: &Page) -> Result<(), String> {
    browser.open(&page.url("0000:01:00.1"))?;
    let why = "root port 0000:00:01.0 has no ACS capability";
    panel_tells(browser, &["0000:01:00.1", "Maker Sound", "linux:", "fabric:", why])?;
    // Marked in both views, with its group and what ties it.
    holds(browser, "document.querySelectorAll('a.here').length === 2")?;
    holds(browser, "document.querySelectorAll('a.mate').length === 6")?;
    holds(
        browser,
        "[...document.querySelectorAll('a.ties')].some(a => a.getAttribute('href') === '#0000:00:01.0')",
    )?;
    browser.open(&page.url("0000:05:00.0"))?;
    panel_tells(browser, &["Nothing ties it", "downstream port 0000:03:00.0"])?;
    browser.open(&page.url("0000:77:00.0"))?;
    holds(browser, "document.getElementById('panel').hidden")?;
    quiet(browser, page)
}

fn by_keyboard(browser: &mut Browser, page: &Page) -> Result<(), String> {
    browser.open(&page.url(""))?;
    holds(browser, "document.querySelectorAll('[role=tree] a.n[tabindex=\"0\"]').length === 2")?;
    browser.ask("document.querySelector('.linux a.n').focus()")?;
    panel_tells(browser, &["0000:00:01.0"])?;
    let way = [
        ("ArrowDown", "#0000:01:00.0"),
        ("ArrowDown", "#0000:01:00.1"),
        ("ArrowUp", "#0000:01:00.0"),
        ("ArrowLeft", "#0000:00:01.0"),
        ("ArrowLeft", "#0000:00:01.0"),
        ("ArrowRight", "#0000:01:00.0"),
        ("g", "#0000:01:00.1"),
        ("g", "#0000:00:01.0"),
        ("End", "#0000:05:00.0"),
        ("ArrowDown", "#0000:05:00.0"),
        ("ArrowLeft", "#0000:03:01.0"),
        ("ArrowLeft", "#0000:02:00.0"),
        ("Home", "#0000:00:01.0"),
    ];
    for (step, (key, expected)) in way.iter().enumerate() {
        browser.press(key)?;
        let focused = browser.ask(FOCUSED)?;
        if focused != *expected {
            return Err(format!("step {step}, {key}: {focused} has the keyboard and not {expected}"));
        }
        panel_tells(browser, &[&expected[1..]]).map_err(|why| format!("step {step}, {key}: {why}"))?;
    }
    holds(browser, "document.activeElement.getAttribute('aria-label').includes('root port')")?;
    browser.press("Escape")?;
    holds(browser, "document.getElementById('panel').hidden")?;
    quiet(browser, page)
}

/// Where the middle of a node is.
fn middle(browser: &mut Browser, node: &str) -> Result<(String, String), String> {
    let of = |axis: &str| {
        format!(
            "(b => b.{axis} + 40)(document.querySelector({}).querySelector('.box').getBoundingClientRect())",
            quoted(node)
        )
    };
    Ok((browser.ask(&of("x"))?, browser.ask(&format!("{} - 28", of("y")))?))
}

fn by_pointer(browser: &mut Browser, page: &Page) -> Result<(), String> {
    browser.open(&page.url(""))?;
    let (x, y) = middle(browser, ".fabric a[href=\"#0000:05:00.0\"]")?;
    browser.point(&x, &y, false)?;
    panel_tells(browser, &["0000:05:00.0", "downstream port 0000:03:00.0"])?;
    browser.point("1", "1", false)?;
    holds(browser, "document.getElementById('panel').hidden")?;
    browser.point(&x, &y, true)?;
    browser.point("1", "1", false)?;
    panel_tells(browser, &["0000:05:00.0"])?;
    holds(
        browser,
        "new Promise(done => setTimeout(done, 400)).then(() => location.hash === '#0000:05:00.0')",
    )?;
    quiet(browser, page)
}

fn by_search(browser: &mut Browser, page: &Page) -> Result<(), String> {
    browser.open(&page.url(""))?;
    browser.press("/")?;
    for letter in ["d", "i", "s", "k"] {
        browser.press(letter)?;
    }
    holds(browser, "document.querySelector('#find output').textContent === '1 function'")?;
    holds(browser, "document.querySelectorAll('a.hit').length === 2")?;
    browser.press("Enter")?;
    panel_tells(browser, &["0000:05:00.0", "Maker Disk"])?;
    browser.press("Escape")?;
    holds(browser, "document.querySelectorAll('a.hit, a.here').length === 0")?;
    quiet(browser, page)
}

fn hostile_name(browser: &mut Browser, page: &Page) -> Result<(), String> {
    browser.open(&page.url("0000:04:00.0"))?;
    holds(browser, "document.title.startsWith('IOMMU groups')")?;
    holds(browser, "document.scripts.length === 1 && document.images.length === 0")?;
    panel_tells(browser, &["<script>document.title='owned'</script>"])?;
    quiet(browser, page)
}

fn finding(browser: &mut Browser, page: &Page) -> Result<(), String> {
    browser.open(&page.url(""))?;
    holds(
        browser,
        "document.querySelector('.findings').innerText.includes('linux splits what fabric keeps together')",
    )?;
    holds(browser, "document.querySelectorAll('.linux a.differs').length > 0")?;
    quiet(browser, page)
}

fn narrow(browser: &mut Browser, page: &Page) -> Result<(), String> {
    let size =
        |width: u32| format!("{{\"width\":{width},\"height\":800,\"deviceScaleFactor\":1,\"mobile\":false}}");
    browser.call("Emulation.setDeviceMetricsOverride", &size(420))?;
    browser.open(&page.url(""))?;
    let mut look = || {
        holds(browser, "document.documentElement.scrollWidth <= 420")?;
        let shown = "(v => document.querySelector('.view.' + v).getClientRects().length > 0)";
        holds(browser, &format!("{shown}('linux') && !{shown}('fabric')"))?;
        browser.ask("document.querySelector('label[for=show-fabric]').click()")?;
        holds(browser, &format!("!{shown}('linux') && {shown}('fabric')"))?;
        quiet(browser, page)
    };
    let result = look();
    browser.call("Emulation.clearDeviceMetricsOverride", "{}")?;
    result
}

fn paper(browser: &mut Browser, page: &Page) -> Result<(), String> {
    browser.open(&page.url("0000:05:00.0"))?;
    browser.call("Emulation.setEmulatedMedia", "{\"media\":\"print\"}")?;
    let mut look = || {
        for (what, shown) in
            [(".view.linux", true), (".view.fabric", true), (".group", true), ("#panel", false)]
        {
            holds(
                browser,
                &format!("document.querySelector('{what}').getClientRects().length > 0 === {shown}"),
            )?;
        }
        Ok(())
    };
    let result = look();
    browser.call("Emulation.setEmulatedMedia", "{\"media\":\"\"}")?;
    result
}

fn without_script(browser: &mut Browser, page: &Page) -> Result<(), String> {
    browser.call("Emulation.setScriptExecutionDisabled", "{\"value\":true}")?;
    let mut look = || {
        browser.open(&page.url("0000:01:00.1"))?;
        holds(browser, "document.getElementById('panel').hidden && document.getElementById('find').hidden")?;
        holds(browser, "document.querySelectorAll('.linux a.n').length === 9")?;
        // The address leads to the function's entry, and that to its group, where the reason stands.
        holds(browser, "document.querySelector(':target').classList.contains('entry')")?;
        holds(
            browser,
            "document.querySelector(document.querySelector(':target .in a').hash).innerText.includes('has no ACS capability')",
        )
    };
    let result = look();
    browser.call("Emulation.setScriptExecutionDisabled", "{\"value\":false}")?;
    result
}

fn closed(browser: &mut Browser, page: &Page) -> Result<(), String> {
    browser.open(&page.url(""))?;
    browser.ask("(s => { s.textContent = 'window.owned = 1'; document.body.append(s); })(document.createElement('script'))")?;
    holds(browser, "window.owned === undefined")?;
    holds(browser, "fetch('http://127.0.0.1:9/').then(() => false, () => true)")?;
    // The browser tells both; had it not refused them, it would have told nothing.
    let refusals =
        browser.complaints().iter().filter(|line| line.contains("Content Security Policy")).count();
    if refusals >= 2 { Ok(()) } else { Err(format!("{refusals} refusals: {:?}", browser.complaints())) }
}

/// Any machine: every node opens the panel with something to say.
fn real(browser: &mut Browser, page: &Page) -> Result<(), String> {
    browser.open(&page.url(""))?;
    let nodes = "[...document.querySelectorAll('[role=tree] a.n')]";
    holds(browser, &format!("{nodes}.length > 0"))?;
    let tells = format!(
        "{nodes}.filter(a => {{ a.dispatchEvent(new MouseEvent('click', {{bubbles: true, cancelable: true}})); \
         return !document.getElementById('panel').innerText.includes(a.getAttribute('href').slice(1)); }}).map(a => a.getAttribute('href')).join(' ')"
    );
    let silent = browser.ask(&tells)?;
    if !silent.is_empty() {
        return Err(format!("the panel does not tell of {silent}"));
    }
    quiet(browser, page)
}
