// Words the moments on a page for whoever looks; without it they are in UTC.

import { wordTimes } from "./outcome.js";

wordTimes(document);
