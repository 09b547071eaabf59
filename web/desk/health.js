// The tab `health`.
'use strict';

desk.tab('health', () => ({}));
