const find = what => document.querySelector(what);
const root = document.documentElement;
let shown, heard = Date.now(), skew = 0, busy, second = 0;

const age = s =>
  s<60 ? s+' s':
  s<3600 ? (s/60|0)+' min '+s%60+' s':
  s<86400 ? (s/3600|0)+' h '+(s/60%60|0)+' min':
  (s/86400|0)+' d '+(s/3600%24|0)+' h';
const count = () => document.querySelectorAll('time').forEach(time => {
  const s = Math.round((Date.now()+skew-Date.parse(time.dateTime))/1e3);
  time.title = time.dateTime;
  time.textContent = s<-60 ? 'in '+age(-s) : age(s<0 ? 0 : s)+' ago';
});

// What is shown becomes what this text has. Another build of the server has another script, which needs its own page.
const show = text => {
  const page = new DOMParser().parseFromString(text, 'text/html'), there = what => page.querySelector(what);
  if (find('script').text != there('script').text) return location.reload();
  for (const what of ['h1', 'h1+div']) {
    const old = find(what), now = there(what);
    if (old.innerHTML != now.innerHTML) old.replaceChildren(...now.childNodes);
  }
  root.className = page.documentElement.className;
  document.title = page.title;
  shown = text;
};
const lost = () => {
  if (shown == 0) return;
  shown = 0;
  const word = find('h1 bdi');
  find('h1+div').insertAdjacentHTML('afterbegin',
    '<p>last answer <time datetime='+new Date(heard+skew).toJSON()+'></time> was <bdi>');
  find('p bdi').append(word.textContent);
  document.title = word.textContent = 'UNREACHABLE';
  find('path').setAttribute('d', 'M8 8l8 8m0-8l-8 8');
  root.className = 't u';
};
const look = async () => {
  if (busy||document.hidden) return;
  busy = 1;
  try {
    // Without a password that may stand in the address: none is taken here.
    const answer = await fetch(location.origin+location.pathname, { cache: 'no-cache', signal: AbortSignal.timeout(4e3) });
    const text = await answer.text();
    if (!answer.ok) throw 0;
    if (text != shown) show(text);
    heard = Date.now();
    skew = Date.parse(answer.headers.get('Date'))-heard||0;
  } catch {
    lost();
  }
  busy = 0;
  count();
};
setInterval(() => {
  if (document.hidden) return;
  count();
  if (++second%5 == 0) look();
}, 1e3);
document.onvisibilitychange = look;
look();
