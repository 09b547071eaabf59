// The tab `concerts`.
'use strict';

desk.tab('concerts', () => ({}));
